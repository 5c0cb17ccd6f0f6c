"""Writes docs/API.md from the docstrings: every public name of every package. Run by `make docs`.

The code is read, never imported (griffe), so nothing here loads a framework and the text is the
same on every machine.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import griffe

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("mpc_router", "sweeps", "analysis", "cluster")
OUTPUT: Final = ROOT / "docs" / "API.md"

OPENING: Final = """\
# API

Written by `make docs` from the docstrings; do not edit. Every public name is here, by package and
module, in the order of the source. Shapes are in letters, and each module says what its letters
mean. What a user calls first: `from mpc_router import ...` (below), `python -m sweeps.run --help`,
and the `mpc-router-*` commands."""

LONG: Final = 96
"""Characters of a line of code here."""


def document(root: Path = ROOT, packages: tuple[str, ...] = PACKAGES) -> str:
    """The whole of API.md, for the packages below `root`."""
    found = {name: list(modules(load(root, name))) for name in packages}
    parts = [OPENING, "## Contents"]
    for name, members in found.items():
        parts.append(f"**[{name}](#{name})**: {first_line(members[0])}")
        parts.append("\n".join(map(contents_line, members[1:])))
    for members in found.values():
        for module in members:
            parts += module_parts(module)
    return "\n\n".join(part for part in parts if part) + "\n"


def load(root: Path, package: str) -> griffe.Module:
    """A package as griffe reads it from its source."""
    found = griffe.load(package, search_paths=[root], allow_inspection=False)
    assert isinstance(found, griffe.Module)
    return found


def modules(package: griffe.Module) -> Iterator[griffe.Module]:
    """A package and its public modules, each before what it holds, by name."""
    yield package
    for name, member in sorted(package.members.items()):
        # an alias is a module that is only imported there
        if isinstance(member, griffe.Module) and not name.startswith("_"):
            yield from modules(member)


def public(scope: griffe.Module | griffe.Class) -> list[griffe.Object]:
    """What is defined here under a public name, in the order of the source."""
    found = [
        member
        for name, member in scope.members.items()
        if isinstance(member, griffe.Object)
        and not name.startswith("_")
        and not isinstance(member, griffe.Module)
    ]
    return sorted(found, key=lambda member: member.lineno or 0)


def contents_line(module: griffe.Module) -> str:
    """A module in the table of contents, with its classes and functions."""
    names = ", ".join(
        f"[`{member.name}`](#{member.path})"
        for member in public(module)
        if not isinstance(member, griffe.Attribute)
    )
    line = f"- [{module.path}](#{module.path}): {first_line(module)}"
    return f"{line}<br>{names}" if names else line


def first_line(thing: griffe.Object) -> str:
    """The first paragraph of a docstring, on one line."""
    text = thing.docstring.value if thing.docstring else ""
    return escaped(" ".join(text.split("\n\n")[0].split()))


def module_parts(module: griffe.Module) -> list[str]:
    """A module's section: its docstring, constants, classes and functions."""
    level = "##" if "." not in module.path else "###"
    parts = [heading(level, module, module.path), *prose(module), homes(module)]
    members = public(module)
    constants = [member for member in members if isinstance(member, griffe.Attribute)]
    parts.append("\n".join(map(attribute_line, constants)))
    for member in members:
        if isinstance(member, griffe.Class):
            parts += class_parts(member)
        elif isinstance(member, griffe.Function):
            parts += function_parts(member, "####")
    return parts


def class_parts(kind: griffe.Class) -> list[str]:
    """A class: how it is made, its docstring, attributes and methods."""
    start = kind.members.get("__init__")
    made = f"class {kind.name}"
    if "dataclass" in kind.labels:  # its fields are listed below
        made = "\n".join([*(f"@{each.value}" for each in kind.decorators), made])
    elif isinstance(start, griffe.Function):
        made = signature(start, made)
    elif kind.bases:
        made += f"({', '.join(map(str, kind.bases))})"
    parts = [heading("####", kind, kind.name), code(made), *prose(kind)]
    shown = [member for member in public(kind) if stated(member)]
    attributes = [member for member in shown if isinstance(member, griffe.Attribute)]
    parts.append("\n".join(map(attribute_line, attributes)))
    for member in shown:
        if isinstance(member, griffe.Function):
            parts += function_parts(member, "#####")
        elif isinstance(member, griffe.Class):
            parts += class_parts(member)
    return parts


def stated(member: griffe.Object) -> bool:
    """Whether a class states this member, rather than only setting it on the way."""
    if not isinstance(member, griffe.Attribute):
        return True
    within = member.parent
    assert isinstance(within, griffe.Class)
    start = within.members.get("__init__")
    inside = isinstance(start, griffe.Function) and (start.lineno or 0) <= (member.lineno or 0) <= (
        start.endlineno or 0
    )
    return member.docstring is not None or not inside


def function_parts(function: griffe.Function, level: str) -> list[str]:
    """A function or method: signature and docstring."""
    name = function.name
    if isinstance(function.parent, griffe.Class):
        name = f"{function.parent.name}.{name}"
    start = "async def " if "async" in function.labels else "def "
    return [
        heading(level, function, name),
        code(signature(function, start + function.name)),
        *prose(function),
    ]


def signature(function: griffe.Function, start: str) -> str:
    """`start(parameters) -> type`, one parameter a line where that is long."""
    parameters = [parameter_text(each) for each in function.parameters]
    if isinstance(function.parent, griffe.Class) and "staticmethod" not in function.labels:
        parameters = parameters[1:]
    kinds = [each.kind for each in function.parameters][-len(parameters) :] if parameters else []
    if (
        griffe.ParameterKind.keyword_only in kinds
        and griffe.ParameterKind.var_positional not in kinds
    ):
        parameters.insert(kinds.index(griffe.ParameterKind.keyword_only), "*")
    if griffe.ParameterKind.positional_only in kinds:
        last = len(kinds) - kinds[::-1].index(griffe.ParameterKind.positional_only)
        parameters.insert(last, "/")
    gives = f" -> {function.returns}" if function.returns and function.name != "__init__" else ""
    line = f"{start}({', '.join(parameters)}){gives}"
    if len(line) <= LONG:
        return line
    return "\n".join([f"{start}(", *(f"    {each}," for each in parameters), f"){gives}"])


def parameter_text(parameter: griffe.Parameter) -> str:
    """`name: type = default`."""
    stars = {
        griffe.ParameterKind.var_positional: "*",
        griffe.ParameterKind.var_keyword: "**",
    }.get(parameter.kind or griffe.ParameterKind.positional_or_keyword, "")
    text = stars + parameter.name
    if parameter.annotation is not None:
        text += f": {parameter.annotation}"
    if parameter.default is not None and not stars:
        equals = " = " if parameter.annotation is not None else "="
        text += f"{equals}{parameter.default}"
    return text


def attribute_line(attribute: griffe.Object) -> str:
    """An attribute, property or constant as an item of a list: name, type, value, docstring."""
    assert isinstance(attribute, griffe.Attribute)
    annotation = str(attribute.annotation) if attribute.annotation is not None else ""
    text = annotation if annotation != "Final" else ""
    value = str(attribute.value) if attribute.value is not None else ""
    if value and len(value) <= LONG and "\n" not in value:
        text = f"{text} = {value}".strip()
    line = f"- **`{attribute.name}`**" + (f" ({ticked(text)})" if text else "")
    words = "\n\n".join(prose(attribute))
    return f"{line}: {indented(words)}" if words else line


def homes(module: griffe.Module) -> str:
    """The names that a package gives lazily, and where they are defined."""
    lazy = module.members.get("_HOMES")
    if not isinstance(lazy, griffe.Attribute) or lazy.value is None:
        return ""
    found: dict[str, str] = ast.literal_eval(str(lazy.value))
    lines = [
        f"- `from {module.path} import {name}`: [{module.path}.{home}.{name}]"
        f"(#{module.path}.{home}.{name})"
        for name, home in sorted(found.items())
    ]
    return "\n".join(lines)


def heading(level: str, thing: griffe.Object, name: str) -> str:
    """A heading that links reach by the full path of its name."""
    return f'{level} <a id="{thing.path}"></a>{ticked(name)}'


def code(text: str) -> str:
    """Text as a block of Python."""
    return f"```python\n{text}\n```"


def ticked(text: str) -> str:
    """Text as code within a line."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def indented(text: str) -> str:
    """Paragraphs that belong to an item of a list."""
    return text.replace("\n", "\n  ").replace("\n  \n", "\n\n")


def prose(thing: griffe.Object) -> list[str]:
    """A docstring's paragraphs as Markdown; what stands in columns or indented stays as it is."""
    if thing.docstring is None:
        return []
    parts = []
    for paragraph in re.split(r"\n\s*\n", thing.docstring.value.strip()):
        title, _, rest = paragraph.partition("\n")
        if title in ("Args:", "Returns:", "Yields:", "Raises:"):
            parts += [f"{title[:-1]}:", items(rest)]
        elif not paragraph.startswith("- ") and re.search(r"^ |\S {2,}\S", paragraph, re.M):
            parts.append(f"```text\n{textwrap.dedent(paragraph)}\n```")
        else:
            parts.append(escaped(paragraph))
    return parts


def items(text: str) -> str:
    """`Name: words` lines, those that continue one indented further, as a list."""
    found: list[str] = []
    for line in text.splitlines():
        if re.match(r"    \S", line) or not found:
            found.append(line.strip())
        else:
            found[-1] += f" {line.strip()}"
    return "\n".join(
        re.sub(r"^(\w+):", r"- `\1`:", escaped(each)) if re.match(r"\w+:", each) else f"- {each}"
        for each in found
    )


def escaped(text: str) -> str:
    """Text in which `<name>` is no tag of HTML and `_name_` no emphasis; code stays as it is."""
    parts = re.split(r"(`+[^`]*`+)", text)
    for at in range(0, len(parts), 2):
        plain = parts[at].replace("<", "&lt;")
        parts[at] = re.sub(r"(?<![^\W_])_|_(?![^\W_])|(?<! )\*|\*(?! )", r"\\\g<0>", plain)
    return "".join(parts)


def main() -> int:
    """Writes the file; the exit code."""
    OUTPUT.write_text(document(), encoding="utf-8")
    sys.stdout.write(f"{OUTPUT.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
