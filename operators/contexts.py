"""Which context shoppers act in, for the rung of the ladder that asks for it (`operators.kernels.contexts`)."""

from __future__ import annotations

import numpy as np

from operators.kernels import contexts as kernels
from operators.kernels.slabs import Slab
from operators.profile_settings import ProfileSettings
from state.rungs import CONTEXT_PARTS
from state.shop_clock import utc_offsets

NO_DEVICES = np.empty(0, np.uint64)


class Contexts:
    """Tells the context of each shopper of a profile batch, made of `settings.list_context`; of nothing: it does
    nothing."""

    def __init__(self, settings: ProfileSettings) -> None:
        self._by_hour, self._by_device = (part in settings.list_context for part in CONTEXT_PARTS)
        self._zone = utc_offsets(settings.timezone)
        self._device_tag = settings.told_tags()[0]

    def devices(self, events: np.ndarray, rows: np.ndarray, status: np.ndarray, place_of: np.ndarray) -> np.ndarray:
        """The devices uint64[places] that events told, as `find_devices` takes them."""
        if not self._by_device or len(events) == 0:
            return NO_DEVICES
        places = int(place_of[rows[rows >= 0]].max(initial=-1)) + 1
        devices, times = np.zeros(places, np.uint64), np.zeros(places, np.int64)
        kernels.find_devices(events, rows, status, place_of, devices, times)
        return devices

    def describe(
        self, profiles: Slab, cells: Slab, values: Slab, who: np.ndarray, devices: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the contexts of the shoppers of rows `who` into PROFILE rows `out`."""
        if self._by_hour or self._by_device:
            kernels.describe_contexts(
                profiles,
                cells,
                values,
                who,
                len(who),
                devices,
                self._device_tag,
                self._zone,
                self._by_hour,
                self._by_device,
                out,
            )
