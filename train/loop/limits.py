"""What the networks and the schedule of a configuration can take."""

from models.discriminator import smallest_patch

LARGEST_PATCH = 512


def check(settings):
    """Refuses a configuration that cannot be trained, before anything is made.

    Args:
        settings: `Config`.

    Raises:
        ValueError: for sizes that the networks cannot take.
    """
    networks, schedule = settings.networks, settings.schedule
    side, least, levels = schedule.patch, smallest_patch(networks), len(networks.unet_widths)
    if not least <= side <= LARGEST_PATCH:
        raise ValueError(
            f"Expected a patch of {least} to {LARGEST_PATCH} pixels, which the networks can take. Received: {side}."
        )
    if 2 * settings.losses.border >= side:
        raise ValueError(
            f"Expected a border under half of the patch's {side} pixels. Received: {settings.losses.border}."
        )
    if not 2 <= schedule.batch <= schedule.pool:
        raise ValueError(f"Expected a batch of 2 to {schedule.pool}, the pool. Received: {schedule.batch}.")
    if (len(networks.unet_down), len(networks.unet_up)) != (levels, levels - 1):
        raise ValueError(
            f"Expected unet_down for {levels} levels and unet_up for {levels - 1}, as unet_widths has {levels}. "
            f"Received: {networks.unet_down} and {networks.unet_up}."
        )
