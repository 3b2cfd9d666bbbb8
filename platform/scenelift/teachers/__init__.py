"""Teachers: frozen vision-language models that score the patches of an image by class."""
