"""What a router is held against: yardsticks, cascades, fronts of a bias."""
