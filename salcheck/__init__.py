"""salcheck: can you believe a saliency method's maps?"""

__version__ = "0.1.0"
