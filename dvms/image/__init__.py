"""Pictures (kind 5100): the Storybook engine, which needs no download, and any diffusers pipeline.

`service.ImageService` is the trade; `storybook/` composes scenes from words; `diffusion` runs real models.
"""
