"""Where did the call come from? Grad-CAM, views, montages and panels."""
