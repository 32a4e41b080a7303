"""The agent of Amazon's Elastic Container Service."""

from __future__ import annotations

from typing import Annotated, Literal

from bulkhead.model.settings.values import Duration, SingleLine, Table, only, rule, whole

AttributeName = Annotated[
    str,
    rule("letters, digits, dashes, underscores, slashes and dots, at most 128 of them",
         pattern=r"[A-Za-z0-9._-][A-Za-z0-9._/-]{0,127}"),
]  # fmt: skip
AttributeValue = Annotated[
    str,
    rule("letters, digits, spaces and ._-/\\:@, at most 128 of them, no space at an end",
         pattern=r"(?! )[A-Za-z0-9._/\\:@ -]{1,128}(?<! )"),
]  # fmt: skip
Count = Annotated[int, whole(0, 2**63 - 1)]


class Ecs(Table, frozen=True):
    """The ECS agent."""

    cluster: SingleLine | None = None
    """Name or ARN of the cluster to join."""
    instance_attributes: (
        Annotated[dict[AttributeName, AttributeValue], only(AttributeName)] | None
    ) = None
    """Told to the cluster when the node joins."""
    allow_privileged_containers: bool | None = None
    logging_drivers: tuple[SingleLine, ...] | None = None
    """That tasks may use."""
    loglevel: Literal["debug", "info", "warn", "error", "crit"] | None = None
    """How much the agent itself logs."""
    enable_spot_instance_draining: bool | None = None
    """Drain the node when the cloud takes it back."""
    image_pull_behavior: Literal["default", "always", "once", "prefer-cached"] | None = None
    container_stop_timeout: Duration | None = None
    """How long a container may take to stop by itself."""
    task_cleanup_wait: Duration | None = None
    """How long a stopped task is kept."""
    metadata_service_rps: Count | None = None
    """Requests per second to the metadata of tasks."""
    metadata_service_burst: Count | None = None
    reserved_memory: Annotated[int, whole(0, 65535)] | None = None
    """MiB that tasks do not get."""
    image_cleanup_wait: Duration | None = None
    """Between two rounds of removing images."""
    image_cleanup_delete_per_cycle: Count | None = None
    image_cleanup_enabled: bool | None = None
    image_cleanup_age: Duration | None = None
    """How old an image is at least when it is removed."""
    backend_host: SingleLine | None = None
    """Of the service, if it is not the region's own."""
    awsvpc_block_imds: bool | None = None
    """Tasks with an interface of their own do not reach the instance's metadata."""
    enable_container_metadata: bool | None = None
    """Put a file with its metadata into each container."""


Model = Ecs
