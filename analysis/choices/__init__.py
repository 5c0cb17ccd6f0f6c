"""Which router to take: operating points of bias curves, and the choice among them."""
