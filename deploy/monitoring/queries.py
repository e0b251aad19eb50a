"""The queries that panels of the dashboard have in common."""

from deploy.monitoring.panels import Query

ALL = 'job="inf-embed",track=~"$track",instance=~"$instance"'
TRACK = 'job="inf-embed",track=~"$track"'


def rate(counter: str, by: str, where: str = "", window: str = "$__rate_interval") -> str:
    return f"sum by ({by}) (rate({counter}{{{ALL}{',' if where else ''}{where}}}[{window}]))"


def quantile(share: float, histogram: str, *, by: str = "", where: str = "", window: str = "$__rate_interval") -> str:
    buckets = rate(f"{histogram}_bucket", f"{by}, le" if by else "le", where, window)
    return f"histogram_quantile({share}, {buckets})"


def quantiles(histogram: str, where: str = "", window: str = "$__rate_interval") -> tuple[Query, ...]:
    return tuple(
        Query(quantile(share, histogram, where=where, window=window), f"p{share * 100:g}")
        for share in (0.5, 0.95, 0.99)
    )


def mean(histogram: str, by: str, where: str = "") -> str:
    return f"{rate(f'{histogram}_sum', by, where)} / {rate(f'{histogram}_count', by, where)}"
