"""Ways to adapt a pretrained model: which parameters train."""
