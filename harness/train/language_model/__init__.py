"""Train an encoder as a masked language model, alone or with a teacher."""
