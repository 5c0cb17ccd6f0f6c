"""Points and seeds become trials, trials become packs, pools are prepared."""
