"""The embedded sample: its language, its examples, its tiny encoders."""
