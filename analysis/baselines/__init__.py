"""What a router is compared with: this room has yardsticks, cascades and cost-bias curves."""
