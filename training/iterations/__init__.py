"""IterComp's loop: sampling, rankings, rewards, feedback learning, and a report, again and again."""
