"""Films (kind 5203): clips or pictures cut to a song, with words and a title.

`service.VideoService` is the trade; `sheet` knows the beats, `timeline` the cuts, `captions` the words, `encode` mp4.
"""
