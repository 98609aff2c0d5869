"""A gallery of models, their pictures of the same prompts, and who ranked them how: plain files all of it."""
