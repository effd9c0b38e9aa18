"""What people and other tools look at: report, cards, single samples."""
