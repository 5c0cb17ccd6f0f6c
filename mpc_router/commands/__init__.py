"""The commands: `mpc-router-init`, `-train`, `-eval`, `-demo`, `-export` and `-price`.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 4 training failed; 130 stopped
by Ctrl-C. What they find is on stdout, talk and progress on stderr.
"""
