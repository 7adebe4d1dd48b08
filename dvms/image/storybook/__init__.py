"""The Storybook engine: a prompt becomes a layered picture, made of painted scenery and 3D sprites. No weights, no GPU.

`compose(recipe)` gives layers with depth; `flatten` gives the picture. The recipe in a picture's PNG chunk gives the
same layers again to whoever wants to animate it: the same recipe gives the same picture.
"""

from dvms.image.storybook.recipe import CHUNK, VERSION, Recipe

__all__ = ["CHUNK", "VERSION", "Recipe"]
