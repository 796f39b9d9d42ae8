"""Programs for the people who maintain this repository; nothing here is installed with it."""
