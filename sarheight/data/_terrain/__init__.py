"""What training for terrain heights is fed: scenes, and their patches."""
