"""A timm model cut open: loaded, fed, differentiated, run again from the layer on."""
