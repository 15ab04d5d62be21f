"""One model, answering: request values, prompts, text, and the engine that brings them together."""
