"""Any picture in 2.5D: a guess at depth, a mesh that shifts near parts more than far ones, and a camera move."""

import math

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from dvms.animation.moves import Move

COLUMNS, ROWS = 20, 12
MARGIN = 0.10


class FlatDepth:
    """Frames of one flat picture: near is low in the picture and where detail gathers."""

    def __init__(self, picture: Image.Image, width: int, height: int, move: Move, seconds: float) -> None:
        self.w, self.h = width, height
        self.move, self.seconds = move, seconds
        self.sheet_w, self.sheet_h = round(width * (1 + 2 * MARGIN)), round(height * (1 + 2 * MARGIN))
        self.picture = ImageOps.fit(picture.convert("RGB"), (self.sheet_w, self.sheet_h), Image.Resampling.LANCZOS)
        self.depth = _depth(self.picture)

    focus: tuple[float, float] | None = None  # nothing is known about what is in the picture

    def frame(self, t: float) -> Image.Image:
        """The picture at t seconds."""
        zoom, pan_x, pan_y = self.move.at(min(1.0, t / max(self.seconds, 0.01)))
        if self.move.name == "still":
            pan_x = 0.12 * math.sin(2 * math.pi * t / max(self.seconds, 0.01))
        mesh = []
        points = self._points(zoom, pan_x, pan_y)
        for row in range(ROWS):
            for column in range(COLUMNS):
                x0, x1 = self.w * column // COLUMNS, self.w * (column + 1) // COLUMNS
                y0, y1 = self.h * row // ROWS, self.h * (row + 1) // ROWS
                a, b = points[row, column], points[row + 1, column]
                c, d = points[row + 1, column + 1], points[row, column + 1]
                mesh.append(((x0, y0, x1, y1), (*a, *b, *c, *d)))
        return self.picture.transform((self.w, self.h), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)

    def _points(
        self, zoom: float, pan_x: float, pan_y: float
    ) -> "np.ndarray[tuple[int, int, int], np.dtype[np.float64]]":
        """Where in the sheet each corner of the mesh looks."""
        u = np.linspace(-0.5, 0.5, COLUMNS + 1)[None, :]
        v = np.linspace(-0.5, 0.5, ROWS + 1)[:, None]
        near = 0.45 + 0.95 * self.depth
        scale = 1 + (zoom - 1) * near
        x = self.sheet_w / 2 + u * self.w / scale + pan_x * near * MARGIN * self.w * 0.62
        y = self.sheet_h / 2 + v * self.h / scale + pan_y * near * MARGIN * self.h * 0.62
        return np.stack([np.clip(x, 0, self.sheet_w - 1), np.clip(y, 0, self.sheet_h - 1)], -1)


def _depth(picture: Image.Image) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """0 far .. 1 near at the corners of the mesh."""
    small = picture.resize((160, 96), Image.Resampling.BOX)
    edges = small.convert("L").filter(ImageFilter.FIND_EDGES)
    gathered = np.asarray(edges.filter(ImageFilter.GaussianBlur(11)), np.float64)
    gathered = (gathered - gathered.min()) / max(float(np.ptp(gathered)), 1.0)
    yy, xx = np.mgrid[0:1:96j, 0:1:160j]
    centre = np.exp(-(((xx - 0.5) / 0.33) ** 2 + ((yy - 0.58) / 0.36) ** 2))
    guess = 0.48 * yy + 0.34 * centre + 0.30 * gathered
    soft = Image.fromarray((np.clip(guess, 0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(8))
    return np.asarray(soft.resize((COLUMNS + 1, ROWS + 1), Image.Resampling.BILINEAR), np.float64) / 255
