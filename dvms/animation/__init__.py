"""Clips from pictures (kind 5202): true-layer parallax, 2.5D for flat pictures, video models by diffusers.

`service.AnimationService` is the trade; cameras (`parallax`, `flatdepth`) give a picture for every moment.
"""
