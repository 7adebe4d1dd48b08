"""What the writer's JSON answers look like, from the embedded writer and from a language model alike."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=160)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=400)]
Short = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


class ShotForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    prompt: Words = Field(description="what the camera sees, in concrete words: who, where, in which light")
    motion: Short = Field("push in", description="push in, pull back, pan left, pan right, rise or drift")
    caption: str = Field("", max_length=200, description="a few words to show")


class ScenesForm(BaseModel):
    """`format=scenes`: a lyric and the shots of its film."""

    model_config = ConfigDict(extra="ignore")

    title: Short
    style: Short = Field(description="music style, for instance folk, synthwave, lofi, rock, cinematic")
    mood: Short
    lines: list[Line] = Field(min_length=8, max_length=16, description="8 to 16 short singable lines that rhyme")
    shots: list[ShotForm] = Field(min_length=4, max_length=8)


class PageForm(BaseModel):
    model_config = ConfigDict(extra="ignore")

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10, max_length=1200)] = Field(
        description="two or three sentences of the story"
    )
    prompt: Words = Field(description="the picture for this page, in concrete words")
    motion: Short = "push in"


class StoryForm(BaseModel):
    """`format=story`: an illustrated tale."""

    model_config = ConfigDict(extra="ignore")

    title: Short
    style: Short
    mood: Short
    pages: list[PageForm] = Field(min_length=4, max_length=8)
    text: str = Field("", description="the whole story")
