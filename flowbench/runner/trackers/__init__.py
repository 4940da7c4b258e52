"""The trackers that ship with flowbench. They know runs only by what `flowbench.api` tells them."""
