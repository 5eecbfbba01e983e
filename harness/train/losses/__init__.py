"""The losses of masked-language-model training and of distillation."""
