"""The package holds what each verb of `mpc-router-sweep` does."""
