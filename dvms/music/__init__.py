"""Music: a theme and lyrics become a song, planned bar by bar, played by a synthesiser and sung.

`service` is the trade; `engine.compose` the embedded engine (a pure function of order and seed); `styles` what a style
is; `planner` the notes; `lyrics` the words and their syllables; `synth` the instruments; `voice` the singer; `mix` the
desk; `sheet` the timing that travels inside the file for whoever makes a video of it;
`ace` the neural engine by diffusers.
"""

__all__ = ["engine", "planner", "service", "sheet", "styles"]
