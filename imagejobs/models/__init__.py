"""What each model accepts as input: checked before anything is paid for."""
