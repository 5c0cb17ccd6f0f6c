"""What a look at a batch gives: features for the router, and what experts take or have said.

Letters: B examples, T tokens, F features, C outputs of an expert.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mpc_router.model.experts import Encoded, ExpertPool


@dataclass(frozen=True)
class Seen:
    """Holds a batch after the stem."""

    features: Tensor | None
    """(B, F) the stem's features, standardised; None where the router sees none."""

    states: Encoded
    """What each expert is given: token numbers (B, T), or of a shared stem hidden states
    (B, T, F)."""

    attention_mask: Encoded | None
    token_type_ids: Encoded | None
    first: Tensor | None = None
    """(B, C) outputs of the cheapest expert, where a look runs it."""

    def ask(self, experts: ExpertPool, number: int, rows: Tensor | None = None) -> Tensor:
        """Gives an expert's outputs (B, C), or those of some `rows` (R, C); it runs once a batch.

        Args:
            experts: the pool that the batch was seen by.
            number: of the expert.
            rows: (R,) places of examples in the batch; None is all of them.
        """
        if number == 0 and self.first is not None:
            return self.first if rows is None else self.first[rows]
        inputs = (self.states, self.attention_mask, self.token_type_ids)
        return experts.ask(number, *inputs, rows=rows)
