"""The shop window: kind 5300, the best works of this node. The one job kind that mass clients show, and free."""

from dvms.feed.service import FeedService

__all__ = ["FeedService"]
