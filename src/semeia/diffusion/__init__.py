"""Words that a text-to-image model learns, where it looks at them, drawing with them; over diffusers."""
