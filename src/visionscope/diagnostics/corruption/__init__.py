"""Accuracy on images with noise, blur, weather and the traces of compression."""
