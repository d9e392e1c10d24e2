"""Training: recipes, augmentation's partners (losses, optimizers, schedules), checkpoints, the loop."""
