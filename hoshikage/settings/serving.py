"""The settings of whoever serves: the manager, the server, and Reynard's routes on it."""

from __future__ import annotations

from dataclasses import dataclass

from hoshikage.checks import Choice, Flag, Host, Key, Number, Place, Size, Text, Whole, Words
from hoshikage.settings.choices import DEVICES, LOG_LEVELS, ON_OFF_AUTO, PASSES, STREAMS
from hoshikage.settings.row import setting

SECONDS = Number(0, 1e9)
DEADLINE = Number(0, 86_400, open_least=True)
SHARE = Number(0, 1, open_least=True)
MOST_BODY = 2**26  # as much as a worker is handed at once
LABELS = Words(most=256, most_characters=256)


@dataclass(frozen=True, kw_only=True)
class Managing:
    """Which models are in memory, and who is served."""

    idle_timeout: float = setting(
        "IDLE_TIMEOUT", SECONDS, 300.0, "seconds without work after which a model leaves memory; 0: never",
        of_model=True,
    )  # fmt: skip
    great_timeout: float = setting(
        "GREAT_TIMEOUT", SECONDS, 60.0, "minutes without work after which its copy in the RAM disk goes; 0: never"
    )
    max_resident: int = setting("MAX_RESIDENT", Whole(0, 1024), 0, "models in memory at once; 0: as many as fit")
    memory_budget: int | None = setting(
        "MEMORY_BUDGET",
        Size(2**60),
        None,
        "memory of the host that all models may take together, such as 12GB; unset: what is free",
    )
    preload: tuple[str, ...] = setting(
        "PRELOAD", LABELS, (), "models to load at the start; they leave like others unless PINNED"
    )
    pinned: tuple[str, ...] = setting(
        "PINNED", LABELS, (), "models that stay once they are in memory, unused or not, whatever needs room"
    )
    staging: str = setting(
        "STAGING", Choice(ON_OFF_AUTO), "auto", "copy a model to the RAM disk first; auto: where its own disk is slow"
    )
    ramdisk_path: str = setting("RAMDISK_PATH", Place(), "/dev/shm", "the RAM disk")
    passes: str = setting(
        "HOSHIKAGE_PASSES",
        Choice(PASSES),
        "auto",
        "one: models take turns at computing; many: they compute at the same time; auto: one without a GPU",
    )
    max_waiting: int = setting(
        "HOSHIKAGE_MAX_WAITING", Whole(1, 100_000), 256, "requests that may wait; more are told to come back later"
    )
    max_wait: float = setting(
        "HOSHIKAGE_MAX_WAIT",
        SECONDS,
        300.0,
        "seconds that a request may wait for its first step, loading included; 0: no end",
    )
    max_time: float = setting(
        "HOSHIKAGE_MAX_TIME", SECONDS, 0.0, "seconds that a request may take altogether; 0: no end"
    )
    max_per_key: int = setting(
        "HOSHIKAGE_MAX_PER_KEY", Whole(0, 100_000), 0, "requests that one key may have at once, waiting too; 0: any"
    )
    drain_timeout: float = setting(
        "DRAIN_TIMEOUT", SECONDS, 30.0, "seconds that running requests get to finish when the server is told to stop"
    )
    watchdog_timeout: float = setting(
        "HOSHIKAGE_WATCHDOG",
        SECONDS,
        120.0,
        "seconds in which nothing moves until /ready says no, and a load (30 at least) or a process that heeds no "
        "cancel is ended; 0: never",
    )


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The server."""

    host: str = setting("HOST", Host(255), "127.0.0.1", "the address to listen on; 0.0.0.0: every one of this machine")
    port: int = setting("PORT", Whole(0, 65535), 3030, "the port to listen on; 0: any that is free")
    api_keys: tuple[str, ...] = setting(
        "HOSHIKAGE_API_KEYS",
        Words(most=1024, most_characters=512, visible_ascii=True),
        (),
        "keys that users have to send, with commas between them; none: nobody is asked",
        secret=True,
    )
    admin_key: str | None = setting(
        "HOSHIKAGE_ADMIN_KEY",
        Key(512),
        None,
        "the key of the owner's routes; unset: they answer this machine only, while HOST is a loopback address and no "
        "HOSHIKAGE_API_KEYS are set",
        secret=True,
    )
    allowed_hosts: tuple[str, ...] = setting(
        "HOSHIKAGE_ALLOWED_HOSTS",
        Words(most=256, most_characters=255, visible_ascii=True),
        (),
        "names that a request may ask for in its Host header, beside HOST and loopback's; *: any",
    )
    allowed_origins: tuple[str, ...] = setting(
        "HOSHIKAGE_ALLOWED_ORIGINS",
        Words(most=256, most_characters=512, visible_ascii=True),
        (),
        "web pages that may use the server, such as https://chat.example; *: any",
    )
    max_body: int = setting(
        "HOSHIKAGE_MAX_BODY", Size(MOST_BODY), 32 * 2**20, "the longest body of a request, such as 32MiB; 64MiB at most"
    )
    max_header: int = setting(
        "HOSHIKAGE_MAX_HEADER", Size(2**20, least=1024), 64 * 2**10, "the longest head of a request"
    )
    max_headers: int = setting("HOSHIKAGE_MAX_HEADERS", Whole(8, 10_000), 100, "headers of a request")
    max_connections: int = setting("HOSHIKAGE_MAX_CONNECTIONS", Whole(1, 1_000_000), 2048, "connections open at once")
    max_streams: int = setting(
        "HOSHIKAGE_MAX_STREAMS",
        Whole(1, 100_000),
        256,
        "requests there at once, those that wait for a model included, whatever they ask but /health and /ready",
    )
    requests_per_minute: int = setting(
        "HOSHIKAGE_REQUESTS_PER_MINUTE",
        Whole(0, 10**9),
        0,
        "requests that one key may make in a minute, and one address where there are no keys; 0: any",
    )
    tokens_per_minute: int = setting(
        "HOSHIKAGE_TOKENS_PER_MINUTE",
        Whole(0, 10**12),
        0,
        "tokens, read and written, after which its next request has to wait for the next minute; 0: any",
    )
    limits_url: str | None = setting(
        "HOSHIKAGE_LIMITS_URL",
        Text(2048),
        None,
        "where they are counted for several servers, such as redis://127.0.0.1:6379; unset: in each server",
        secret=True,
    )
    receive_timeout: float = setting(
        "HOSHIKAGE_RECEIVE_TIMEOUT",
        DEADLINE,
        30.0,
        "seconds from its first byte in which the head of a request has to arrive, and as many for its body",
    )
    send_timeout: float = setting(
        "HOSHIKAGE_SEND_TIMEOUT",
        DEADLINE,
        30.0,
        "seconds that a client may leave a part of its answer unread",
    )
    connection_timeout: float = setting(
        "HOSHIKAGE_CONNECTION_TIMEOUT",
        DEADLINE,
        60.0,
        "seconds that a connection may stay open without a request",
    )
    diffusion_stream: str = setting(
        "DIFFUSION_STREAM",
        Choice(STREAMS),
        "settled",
        "settled: text is streamed as it becomes certain; single: as one piece at the end",
    )
    log_file: str | None = setting("LOG_FILE_PATH", Place(), None, "the log file, one a day; unset: standard error")
    log_level: str = setting("HOSHIKAGE_LOG_LEVEL", Choice(LOG_LEVELS), "info", "what is logged")
    log_days: int = setting(
        "HOSHIKAGE_LOG_DAYS", Whole(0, 10_000), 14, "days for which log files are kept; 0: for ever"
    )


@dataclass(frozen=True, kw_only=True)
class Reynard:
    """Reynard's routes, with the defaults of its document."""

    reynard_enabled: bool = setting("DIFFUSION_ENABLED", Flag(), True, "whether these routes are there")
    reynard_default_model: str | None = setting(
        "DIFFUSION_DEFAULT_MODEL",
        Text(256),
        None,
        "the model of a request that names none; unset: a masked one, in the order of other routes",
    )
    reynard_device_preference: str | None = setting(
        "DIFFUSION_DEVICE_PREFERENCE",
        Choice(DEVICES),
        None,
        "where models are put that these routes wake; unset: as DEVICE_PREFERENCE says",
    )
    reynard_max_requests: int = setting(
        "DIFFUSION_MAX_CONCURRENT_REQUESTS", Whole(1, 100_000), 3, "requests worked on at once; the others wait"
    )
    reynard_memory_threshold: float = setting(
        "DIFFUSION_MEMORY_THRESHOLD",
        SHARE,
        0.8,
        "share of a GPU's memory above which they put layers on the CPU, within HOSHIKAGE_GPU_SHARE",
    )
    reynard_timeout: float = setting(
        "DIFFUSION_TIMEOUT_SECONDS",
        SECONDS,
        300.0,
        "seconds that a request may take; 0: as many as HOSHIKAGE_MAX_TIME allows",
    )
    reynard_max_length: int = setting("DIFFUSION_MAX_LENGTH", Whole(1, 2**20), 512, "tokens of an answer")
    reynard_temperature: float = setting("DIFFUSION_TEMPERATURE", Number(0, 100), 0.7, "temperature")
    reynard_top_p: float = setting("DIFFUSION_TOP_P", SHARE, 0.9, "draw among the likeliest up to this probability")
    reynard_top_k: int = setting("DIFFUSION_TOP_K", Whole(0, 2**31 - 1), 50, "draw among so many tokens; 0: all")
    reynard_repetition_penalty: float = setting(
        "DIFFUSION_REPETITION_PENALTY",
        Number(0, 100, open_least=True),
        1.1,
        "above 1: tokens already there become less likely",
    )
