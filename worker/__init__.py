"""Who works: the Celery app and its tasks, the stages, and what keeps house."""
