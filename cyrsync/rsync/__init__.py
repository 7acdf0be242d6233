"""What every rsync reads and says, whoever runs it: its options, its lists, its messages."""
