"""What an organisation has decided beforehand: its policy, the days by which it answers, and whom it trusts."""
