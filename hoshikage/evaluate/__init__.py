"""How good and how fast a model is: seeded questions with programs that judge the answers."""
