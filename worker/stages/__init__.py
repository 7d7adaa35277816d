"""The stages: what each decides about one job. They call an edge at most, and write nothing."""
