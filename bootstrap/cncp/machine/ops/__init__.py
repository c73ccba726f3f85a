"""What is done on one machine: the main job, and the verbs."""
