"""l2mu-compile: trained spiking Legendre Memory Units to small, verified C for ARM devices."""

__version__ = "0.1.0"
