"""Many machines over ssh: the main job of one machine on each of them, all at once."""
