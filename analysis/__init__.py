"""Reads run folders: fronts, yardsticks, utilization, report. Knows neither models nor Ray."""
