"""A timm model cut open at a layer: loading, running, gradients, and running again from that layer on."""
