"""Which pixels the centre of a feature map depends on."""
