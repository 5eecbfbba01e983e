"""Train an encoder as a masked language model, alone or towards a teacher."""
