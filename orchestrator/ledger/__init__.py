"""From energy samples to grams, dollars and the honest comparisons. Pure."""
