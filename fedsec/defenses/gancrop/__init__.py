"""GANcrop: find poisoned models by contrast, recover the trigger, unlearn it.  arXiv:2405.20727"""
