"""The engine and its surroundings: threads, delivery, timers, forks, waits and the log."""
